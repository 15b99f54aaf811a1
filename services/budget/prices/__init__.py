"""What models cost: versions, rates, and costs in whole nano-USD."""
