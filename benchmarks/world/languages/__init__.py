"""The world in German and Chinese: nouns with what their articles and measure words need, and all names."""
