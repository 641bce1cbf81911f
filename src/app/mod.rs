//! The application
