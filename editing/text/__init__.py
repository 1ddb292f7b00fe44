"""Edit requests and the token sequences made of them."""
