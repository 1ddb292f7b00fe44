"""Tests of the playground; those that need a browser are in test_browser.py."""
