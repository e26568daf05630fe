"""Speech: a waveform in, feature rows out; an encoder is a file and a row of `encoders.ENCODERS`."""
