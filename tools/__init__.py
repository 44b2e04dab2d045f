"""What contributors run in a checkout; none of it ships."""
