"""Locate-then-edit methods: find a key and a value, write them into a linear map in closed form."""
