//! The codec from outside: rule tables with their RFC sections, and naive twins of every parser.
//!
//! Whatever is parsed here goes through `delivery`, which hands it over whole, byte by byte and cut
//! at every place, and insists on one result.

mod chunk_oracle;
mod chunks;
mod delivery;
mod errors;
mod generator;
mod head_limits;
mod oracle;
mod properties;
mod request_fields;
mod request_lines;
mod request_oracle;
mod response_oracle;
mod responses;
