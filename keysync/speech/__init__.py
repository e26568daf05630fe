"""Speech: waveforms to feature rows; each encoder is one file and one row of `encoders.ENCODERS`."""
