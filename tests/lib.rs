//! What the end-to-end tests share: the agent under test, its targets, a profile reader.
