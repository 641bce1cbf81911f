//! Comma-separated tables (RFC 4180) with a header; every complaint names file and line.

use std::path::{Path, PathBuf};

/// A table, of which only the columns that were asked for are kept.
pub(crate) struct Table {
    path: PathBuf,
    /// For each row its line in the file, and its fields in the order asked for.
    rows: Vec<(usize, Vec<String>)>,
}

/// A row of a table.
pub(crate) struct Row<'a> {
    path: &'a Path,
    line: usize,
    fields: &'a [String],
}

impl Table {
    /// Reads the columns of those names; each must be there once.
    pub(crate) fn read(path: &Path, columns: &[&str]) -> Result<Self, String> {
        let mut lines = lines(path)?.into_iter();
        let header = lines
            .next()
            .ok_or(format!("{}:1: an empty file", path.display()))?
            .1;
        let mut places = Vec::new();
        for column in columns {
            let place = header.iter().position(|name| name == column);
            places.push(place.ok_or(format!("{}:1: no column {column}", path.display()))?);
        }
        let mut rows = Vec::new();
        for (line, fields) in lines {
            if fields.len() != header.len() {
                let (found, wanted) = (fields.len(), header.len());
                return Err(format!(
                    "{}:{line}: {found} fields, not {wanted}",
                    path.display()
                ));
            }
            rows.push((
                line,
                places.iter().map(|&place| fields[place].clone()).collect(),
            ));
        }
        let path = path.to_path_buf();
        Ok(Self { path, rows })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, fields)| Row {
            path: &self.path,
            line: *line,
            fields,
        })
    }
}

impl Row<'_> {
    /// The field of that place among the columns asked for.
    pub(crate) fn text(&self, place: usize) -> &str {
        &self.fields[place]
    }

    /// The same as a number.
    pub(crate) fn number(&self, place: usize) -> Result<f64, String> {
        number(self.text(place))
            .ok_or_else(|| self.fault(&format!("{} is no number", self.text(place))))
    }

    /// A complaint about this row.
    pub(crate) fn fault(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), self.line)
    }
}

/// A table of samples: the first column is their time, and rises; an empty field is a missing sample, a NaN.
pub(crate) struct Frame {
    pub(crate) times: Vec<f64>,
    pub(crate) columns: Vec<(String, Vec<f64>)>,
}

impl Frame {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut lines = lines(path)?.into_iter();
        let at = |line: usize, what: String| format!("{}:{line}: {what}", path.display());
        let header = lines.next().ok_or_else(|| at(1, "an empty file".into()))?.1;
        if header[0] != "timestamp" {
            return Err(at(
                1,
                format!("the first column is {}, not timestamp", header[0]),
            ));
        }
        let mut frame = Self {
            times: Vec::new(),
            columns: header[1..]
                .iter()
                .map(|name| (name.clone(), Vec::new()))
                .collect(),
        };
        for (line, fields) in lines {
            if fields.len() != header.len() {
                return Err(at(
                    line,
                    format!("{} fields, not {}", fields.len(), header.len()),
                ));
            }
            let no_number = |field: &str| at(line, format!("{field} is no number"));
            let time = number(&fields[0]).ok_or_else(|| no_number(&fields[0]))?;
            if frame.times.last().is_some_and(|&before| before >= time) {
                return Err(at(line, format!("the time {time} does not rise")));
            }
            frame.times.push(time);
            for (field, (_, samples)) in fields[1..].iter().zip(&mut frame.columns) {
                let sample = if field.is_empty() {
                    Some(f64::NAN)
                } else {
                    number(field)
                };
                samples.push(sample.ok_or_else(|| no_number(field))?);
            }
        }
        Ok(frame)
    }

    pub(crate) fn column(&self, name: &str) -> Option<&[f64]> {
        let column = self.columns.iter().find(|(known, _)| known == name);
        column.map(|(_, samples)| samples.as_slice())
    }
}

/// A field as it is written.
pub(crate) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// The lines that are not empty, by number from 1, split into fields.
pub(crate) fn lines(path: &Path) -> Result<Vec<(usize, Vec<String>)>, String> {
    let bytes = std::fs::read(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let line = std::str::from_utf8(line)
            .map_err(|_| format!("{}:{number}: not UTF-8", path.display()))?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.is_empty() {
            let fields = fields(line).ok_or(format!(
                "{}:{number}: a quote that does not end",
                path.display()
            ))?;
            lines.push((number, fields));
        }
    }
    Ok(lines)
}

/// The fields of a line; nothing if a quote does not end on it.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!is_quoted).then_some(fields)
}
