"""Private values in text: finds them, puts placeholders in their place before a provider sees them, and puts them back
into the answer for who sent them. It keeps nothing beyond the request, and never tells a value to anybody."""
