//! End-to-end tests: the real agent against real programs. One module a subject.
