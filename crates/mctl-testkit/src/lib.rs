//! Test programs and harness.
