"""What tests share: images, servers that behave badly, and rigs of single services. See README.md."""
