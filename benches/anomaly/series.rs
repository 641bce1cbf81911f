//! Reads recorded series: CSV whose header begins `timestamp,value`.

use nos::platform::time::Instant;
use std::fs;
use std::path::Path;

/// One file.
pub(crate) struct Series {
    /// The file's name, without its directory.
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
}

/// One row, as it was written and as what it means.
pub(crate) struct Row {
    pub(crate) timestamp: String,
    pub(crate) text: String,
    pub(crate) at: Instant,
    /// Nothing where the sample is missing.
    pub(crate) value: Option<f64>,
}

/// Every series in a directory, by name; says which files are none.
pub(crate) fn read_all(dir: &Path) -> Result<Vec<Series>, String> {
    let failed = |why: std::io::Error| format!("{}: {why}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        match parse(&name, &text)? {
            Some(series) => all.push(series),
            None => eprintln!("skipped: {name} has no header timestamp,value"),
        }
    }
    if all.is_empty() {
        return Err(format!("{}: no series in it", dir.display()));
    }
    Ok(all)
}

/// Nothing if it is no series; an error names the file and the line.
fn parse(name: &str, text: &str) -> Result<Option<Series>, String> {
    let mut lines = text.lines().enumerate();
    let header = lines.next().map_or("", |(_, header)| header);
    if !matches!(
        header.trim_start_matches('\u{feff}').strip_prefix("timestamp,value"),
        Some(rest) if rest.is_empty() || rest.starts_with(',')
    ) {
        return Ok(None);
    }
    let mut rows = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let row = row(line).map_err(|why| format!("{name}:{}: {why}", index + 1))?;
        rows.push(row);
    }
    Ok(Some(Series {
        name: name.into(),
        rows,
    }))
}

fn row(line: &str) -> Result<Row, String> {
    let mut fields = line.split(',');
    let (Some(timestamp), Some(text)) = (fields.next(), fields.next()) else {
        return Err(format!("{line:?} has no value field"));
    };
    let seconds = number(timestamp)
        .filter(|seconds| (0.0..1e10).contains(seconds))
        .ok_or_else(|| format!("timestamp {timestamp:?} is no time in Unix seconds"))?;
    let value = match text.trim() {
        "" => None,
        text => Some(number(text).ok_or_else(|| format!("value {text:?} is no number"))?),
    };
    Ok(Row {
        timestamp: timestamp.into(),
        text: text.into(),
        at: Instant::from_nanos((seconds * 1e3) as u64 * 1_000_000),
        value,
    })
}

fn number(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}
