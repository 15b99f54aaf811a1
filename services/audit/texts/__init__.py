"""What was said in requests, where an organisation's texts are recorded: beside the record, sealed, gone with it."""
