"""Tests of KeyFace."""
