"""Real services and servers, started on free ports and stopped by the test that started them."""
