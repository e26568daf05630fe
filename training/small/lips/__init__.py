"""The built-in reader of lips: from Whisper's rows to how the lips stand."""
