//! The index's file: pictures by their content, and the files that hold them, in one SQLite database.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clip_wgpu::{Error, Result};
use half::f16;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::{archives, home};

/// What `PRAGMA application_id` says of our files ("CLIP"), and the version of the tables.
const APPLICATION: i32 = 0x434c_4950;
const VERSION: i32 = 1;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    -- A picture by its content. The embedding has unit length, in little-endian f16.
    CREATE TABLE picture (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, embedding BLOB NOT NULL) STRICT;
    -- A file: its picture, or why it is none.
    CREATE TABLE file (
        path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
        picture INTEGER REFERENCES picture (id), error TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX file_picture ON file (picture);";

/// SHA-256 of a file's bytes.
pub type Hash = [u8; 32];

pub fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What tells that a file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub bytes: i64,
    pub modified_ns: i64,
}

impl Stamp {
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let of_file = || {
            let data = path.metadata()?;
            Ok((data.len(), data.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
        };
        let (bytes, modified) = archives::stamp(path).unwrap_or_else(of_file)?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Ok(Self { bytes: bytes as i64, modified_ns: since.as_nanos() as i64 })
    }
}

/// The model that an index is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub name: String,
    /// Of its weights and of the size of its pictures.
    pub fingerprint: String,
    pub width: usize,
}

/// What became of a file.
pub enum Made<'a> {
    /// A picture that was encoded.
    Embedding(&'a [f32]),
    /// A picture that was known.
    Known,
    Error(&'a str),
}

pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Whether it lies where nothing can be written.
    is_fixed: bool,
}

impl Store {
    /// Where the index lies unless `--db` says: with the user's other data.
    pub fn default_path() -> Result<PathBuf> {
        let data =
            home::data().ok_or_else(|| Error::Argument("there is no home folder to keep an index in: say where with --db FILE".into()))?;
        Ok(data.join("clip-wgpu/index.sqlite"))
    }

    /// Opens an index, or begins one.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        Self::connect(path, true)
    }

    /// Opens an index that is there.
    pub fn open(path: &Path) -> Result<Self> {
        match path.metadata() {
            Ok(_) => Self::connect(path, false),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(no_index(path)),
            Err(source) => Err(Error::Io { path: path.into(), source }),
        }
    }

    fn connect(path: &Path, begins: bool) -> Result<Self> {
        let named = |e: rusqlite::Error| sql_error(path, &e);
        let mut connection = Connection::open(path).map_err(named)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(named)?;
        let count = |c: &Connection| c.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        let (tables, is_fixed) = match count(&connection) {
            Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) && !begins => {
                connection = Connection::open(fixed(path)?).map_err(named)?;
                (count(&connection).map_err(named)?, true)
            }
            tables => (tables.map_err(named)?, false),
        };
        let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0)).map_err(named);
        match (pragma("application_id")?, pragma("user_version")?) {
            (APPLICATION, VERSION) => {}
            (0, 0) if tables == 0 && !begins => return Err(no_index(path)),
            (0, 0) if tables == 0 => {
                // All or nothing: an index that was killed here is begun again.
                let begin =
                    format!("BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;");
                connection.execute_batch(&begin).map_err(named)?;
            }
            (APPLICATION, version) => {
                return Err(Error::Argument(format!(
                    "{}: expected an index of version {VERSION}, found version {version}",
                    path.display()
                )));
            }
            _ => return Err(Error::Argument(format!("{}: expected an index of clip-wgpu, found another database", path.display()))),
        }
        if !is_fixed {
            // Readers and the one writer do not wait for each other; what is committed outlives a kill.
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(named)?;
            connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON").map_err(named)?;
        }
        Ok(Self { connection, path: path.into(), is_fixed })
    }

    fn named(&self) -> impl Fn(rusqlite::Error) -> Error + '_ {
        |e| sql_error(&self.path, &e)
    }

    /// What was noted under a key.
    pub fn note(&self, key: &str) -> Result<Option<String>> {
        let select = "SELECT value FROM meta WHERE key = ?";
        self.connection.query_row(select, [key], |row| row.get(0)).optional().map_err(self.named())
    }

    pub fn set_note(&self, key: &str, value: &str) -> Result<()> {
        let insert = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
        self.connection.execute(insert, [key, value]).map(drop).map_err(self.named())
    }

    /// The model that it is of; none in a new one.
    pub fn model(&self) -> Result<Option<Model>> {
        let (Some(name), Some(fingerprint), Some(width)) = (self.note("model")?, self.note("fingerprint")?, self.note("width")?) else {
            return Ok(None);
        };
        let width = width.parse().map_err(|_| Error::Argument(format!("{}: damaged: width `{width}`", self.path.display())))?;
        Ok(Some(Model { name, fingerprint, width }))
    }

    /// Takes `model` for a new index.
    ///
    /// # Errors
    /// [`Error::Argument`] where the index is of another one.
    pub fn expect_model(&self, model: &Model) -> Result<()> {
        match self.model()? {
            None => {
                let insert = "INSERT INTO meta (key, value) VALUES ('model', ?), ('fingerprint', ?), ('width', ?)";
                let values = params![model.name, model.fingerprint, model.width.to_string()];
                self.connection.execute(insert, values).map(drop).map_err(self.named())
            }
            Some(own) if own.fingerprint == model.fingerprint && own.width == model.width => Ok(()),
            Some(own) => Err(Error::Argument(format!(
                "{}: was made with {}, and {} has other weights, or another --compute: leave -m and --compute as they were, or begin another index with --db FILE",
                self.path.display(),
                own.name,
                model.name
            ))),
        }
    }

    /// A number that is another one after every change by another process.
    #[cfg(feature = "serve")]
    pub fn version(&self) -> Result<i64> {
        self.connection.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(self.named())
    }

    /// The stamps of all files that are done: not of one whose picture another run took away while it was added.
    pub fn stamps(&self) -> Result<HashMap<String, Stamp>> {
        const DONE: &str = "SELECT path, bytes, modified_ns FROM file WHERE picture IS NOT NULL OR error IS NOT NULL";
        let mut all = self.connection.prepare(DONE).map_err(self.named())?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, Stamp { bytes: row.get(1)?, modified_ns: row.get(2)? })));
        rows.map_err(self.named())?.collect::<rusqlite::Result<_>>().map_err(self.named())
    }

    /// The hashes of all pictures.
    pub fn hashes(&self) -> Result<Vec<Hash>> {
        let mut all = self.connection.prepare("SELECT hash FROM picture").map_err(self.named())?;
        let rows = all.query_map([], |row| row.get::<_, Hash>(0)).map_err(self.named())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.named())
    }

    /// Writes what became of some files, all or none of it.
    pub fn put(&mut self, files: &[(String, Stamp, Option<Hash>, Made<'_>)]) -> Result<()> {
        let named = |e: rusqlite::Error| sql_error(&self.path, &e);
        let put = |all: &rusqlite::Transaction<'_>| -> rusqlite::Result<()> {
            for (path, stamp, hash, made) in files {
                if let (Made::Embedding(values), Some(hash)) = (made, hash) {
                    let halves: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
                    all.execute("INSERT OR IGNORE INTO picture (hash, embedding) VALUES (?, ?)", params![hash, halves])?;
                }
                let error = if let Made::Error(error) = made { Some(*error) } else { None };
                let hash = hash.as_ref().filter(|_| error.is_none());
                let insert = "INSERT OR REPLACE INTO file (path, bytes, modified_ns, picture, error)
                    VALUES (?, ?, ?, (SELECT id FROM picture WHERE hash = ?), ?)";
                all.execute(insert, params![path, stamp.bytes, stamp.modified_ns, hash, error])?;
            }
            Ok(())
        };
        let all = self.connection.transaction().map_err(named)?;
        put(&all).and_then(|()| all.commit()).map_err(named)
    }

    /// Takes in what another index has: how many files. What both have of a file is taken from the other.
    ///
    /// # Errors
    /// [`Error::Argument`] where it is no index, or one of another model.
    pub fn merge(&mut self, other: &Path) -> Result<usize> {
        let wrong = || Error::Argument(format!("{}: expected a name in UTF-8", other.display()));
        let name = other.to_str().ok_or_else(wrong)?;
        let store = Self::open(other)?;
        let Some(model) = store.model()? else { return Ok(0) }; // an empty one
        self.expect_model(&model)?;
        let name = if store.is_fixed { fixed(other)? } else { name.into() };
        drop(store);
        let named = |e: rusqlite::Error| sql_error(other, &e);
        self.connection.execute("ATTACH ? AS other", [name]).map_err(named)?;
        let merged = (|| {
            let all = self.connection.transaction()?;
            all.execute("INSERT OR IGNORE INTO picture (hash, embedding) SELECT hash, embedding FROM other.picture", [])?;
            let insert = "INSERT OR REPLACE INTO file (path, bytes, modified_ns, picture, error)
                SELECT path, bytes, modified_ns, own.id, error FROM other.file
                LEFT JOIN other.picture AS its ON its.id = picture LEFT JOIN main.picture AS own ON own.hash = its.hash";
            let files = all.execute(insert, [])?;
            all.commit()?;
            Ok(files)
        })();
        self.connection.execute("DETACH other", []).map_err(named)?;
        merged.map_err(named)
    }

    /// Takes files out, and pictures that no file holds any more.
    pub fn remove(&mut self, paths: &[&str]) -> Result<()> {
        let named = |e: rusqlite::Error| sql_error(&self.path, &e);
        let all = self.connection.transaction().map_err(named)?;
        let remove = || -> rusqlite::Result<()> {
            paths.iter().try_for_each(|path| all.execute("DELETE FROM file WHERE path = ?", [path]).map(drop))?;
            all.execute("DELETE FROM picture WHERE id NOT IN (SELECT picture FROM file WHERE picture IS NOT NULL)", []).map(drop)
        };
        remove().and_then(|()| all.commit()).map_err(named)
    }

    /// The files that are no pictures, and why.
    pub fn failed(&self) -> Result<Vec<(String, String)>> {
        let mut all =
            self.connection.prepare("SELECT path, error FROM file WHERE error IS NOT NULL ORDER BY path").map_err(self.named())?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(self.named())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.named())
    }

    /// Calls `f` with each file that holds a picture, its stamp and its embedding, in order of path.
    ///
    /// # Errors
    /// What `f` says; [`Error::Argument`] for an embedding of another width.
    pub fn each(&self, width: usize, mut f: impl FnMut(&str, Stamp, &[f16])) -> Result<()> {
        let query = "SELECT path, embedding, bytes, modified_ns FROM file JOIN picture ON picture = id ORDER BY path";
        let mut all = self.connection.prepare(query).map_err(self.named())?;
        let mut rows = all.query([]).map_err(self.named())?;
        let mut row_of = vec![f16::ZERO; width];
        while let Some(row) = rows.next().map_err(self.named())? {
            let path: String = row.get(0).map_err(self.named())?;
            let halves: Vec<u8> = row.get(1).map_err(self.named())?;
            let stamp = Stamp { bytes: row.get(2).map_err(self.named())?, modified_ns: row.get(3).map_err(self.named())? };
            if halves.len() != 2 * width {
                let found = halves.len() / 2;
                return Err(Error::Argument(format!(
                    "{}: damaged: expected {width} values for {path}, found {found}",
                    self.path.display()
                )));
            }
            row_of.iter_mut().zip(halves.chunks_exact(2)).for_each(|(v, b)| *v = f16::from_le_bytes([b[0], b[1]]));
            f(&path, stamp, &row_of);
        }
        Ok(())
    }
}

fn no_index(path: &Path) -> Error {
    Error::Argument(format!("{}: no index yet; make one with clip-wgpu index FOLDER", path.display()))
}

/// SQLite's name of a file that lies where nothing can be written, such as a disk that is mounted to be read only: it is read without
/// the files that SQLite keeps beside one, which are not there when an index was closed.
///
/// # Errors
/// [`Error::Argument`] where it was not closed.
fn fixed(path: &Path) -> Result<String> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).metadata().is_ok_and(|log| log.len() > 0) {
        let what = "lies where nothing can be written, and was not closed: its last changes are in the file beside it that ends in -wal";
        return Err(Error::Argument(format!("{}: {what}; search it once where it can be written", path.display())));
    }
    let path = path.to_str().ok_or_else(|| Error::Argument(format!("{}: expected a name in UTF-8", path.display())))?;
    let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("file:{escaped}?immutable=1"))
}

fn sql_error(path: &Path, error: &rusqlite::Error) -> Error {
    Error::Io { path: path.into(), source: std::io::Error::other(error.to_string()) }
}
