"""From rows to scores per case, the best setting per rung, and the editability curve."""
