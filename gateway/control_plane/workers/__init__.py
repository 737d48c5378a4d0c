"""What operators want of workers, and what every gateway tells of them."""
