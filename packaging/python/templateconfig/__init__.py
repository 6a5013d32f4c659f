"""What configuration modules written for ovm-template-config import, so that they run unchanged."""
