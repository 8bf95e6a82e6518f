//! The zip around the entries.

use std::io::{Cursor, Read as _, Write as _};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::ModelError;

/// Most bytes of an entry; the largest network this engine takes has half of it.
const MAX_ENTRY_BYTES: u64 = 64 * 1024 * 1024;

/// The bytes of a zip in memory.
pub(super) type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn damaged(entry: &str, source: impl Into<crate::error::Cause>) -> ModelError {
    ModelError::Archive { entry: entry.to_owned(), source: source.into() }
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
}

/// Stores the entries uncompressed, dated 1980, so that the same entries give the same bytes.
pub(super) fn write(entries: &[(&str, &[u8])]) -> Result<Vec<u8>, ModelError> {
    let options = options();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        limit(name, content.len() as u64)?;
        writer.start_file(*name, options).map_err(|source| damaged(name, source))?;
        writer.write_all(content).map_err(|source| damaged(name, source))?;
    }
    let archive = writer.finish().map_err(|source| damaged("table of contents", source))?;
    Ok(archive.into_inner())
}

/// The same zip with one entry more.
pub(super) fn append(bytes: Vec<u8>, name: &str, content: &[u8]) -> Result<Vec<u8>, ModelError> {
    limit(name, content.len() as u64)?;
    let mut writer = ZipWriter::new_append(Cursor::new(bytes))
        .map_err(|source| damaged("table of contents", source))?;
    writer.start_file(name, options()).map_err(|source| damaged(name, source))?;
    writer.write_all(content).map_err(|source| damaged(name, source))?;
    let archive = writer.finish().map_err(|source| damaged("table of contents", source))?;
    Ok(archive.into_inner())
}

/// Reads the table of contents.
pub(super) fn open(bytes: &[u8]) -> Result<Archive<'_>, ModelError> {
    if !bytes.starts_with(b"PK") {
        return Err(ModelError::NotAnArchive);
    }
    ZipArchive::new(Cursor::new(bytes)).map_err(|source| damaged("table of contents", source))
}

/// The content of an entry, `None` when it is not there.
pub(super) fn entry(archive: &mut Archive<'_>, name: &str) -> Result<Option<Vec<u8>>, ModelError> {
    let file = match archive.by_name(name) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(source) => return Err(damaged(name, source)),
    };
    limit(name, file.size())?;
    let mut content = Vec::new();
    // The size above is only what the archive claims.
    file.take(MAX_ENTRY_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|source| damaged(name, source))?;
    limit(name, content.len() as u64)?;
    Ok(Some(content))
}

/// As [`entry`], as text.
pub(super) fn text(
    archive: &mut Archive<'_>,
    name: &'static str,
) -> Result<Option<String>, ModelError> {
    let Some(content) = entry(archive, name)? else { return Ok(None) };
    String::from_utf8(content)
        .map(Some)
        .map_err(|source| ModelError::Text { entry: name, source: source.into() })
}

fn limit(entry: &str, size: u64) -> Result<(), ModelError> {
    if size <= MAX_ENTRY_BYTES {
        return Ok(());
    }
    Err(ModelError::TooLarge { entry: entry.to_owned(), size, limit: MAX_ENTRY_BYTES })
}
