"""The online half: from the stream to a decision in milliseconds."""
