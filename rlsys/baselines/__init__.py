"""Other systems' algorithms on our environments, into our metrics: yardsticks. A folder for each."""
