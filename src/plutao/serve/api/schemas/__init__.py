"""What requests and answers hold, field by field as OpenAI describes them."""
