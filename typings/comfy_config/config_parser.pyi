# Imported by the tests for what importing it does.
