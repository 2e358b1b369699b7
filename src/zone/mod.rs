//! Zone text as a lossless document: bytes to spanned entries to records; edits by span;
//! diagnostics with line and column. Knows no file system: bytes in, bytes out.

pub mod tag;
