//! (telemetry: to be filled)
