"""From a pile of videos to what training reads: every video goes through a chain of stages, each kept once done."""
