//! Files that are replaced as a whole: under the name stands the former content or the new one.
//!
//! In: a path and bytes. Out: the file. The new content is written beside it under a name that ends in
//! `.part` and takes the place by rename; given up, nothing of it stays.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::fs::{chown, fchown};
use std::path::{Path, PathBuf};

/// Makes a file hold these bytes, durably, and makes its directory.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory_of(path))?;
    let mut new = Replacement::begin(path)?;
    new.write_all(bytes)?;
    new.commit()
}

/// The same without waiting for the disk: for what a restart makes anew.
pub fn replace_without_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = Replacement::begin(path)?;
    new.write_all(bytes)?;
    new.rename()
}

/// The same as [`replace`], readable by its owner alone, who is the directory's: what an administrator does by the
/// command line stays readable to the service that has the directory.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = Replacement::begin(path)?;
    let of_file = new.file.metadata()?;
    let of_directory = fs::metadata(directory_of(path))?;
    new.file.set_permissions(Permissions::from_mode(0o600))?;
    if of_file.uid() == 0 && of_directory.uid() != 0 {
        fchown(&new.file, Some(of_directory.uid()), Some(of_directory.gid()))?;
    }
    new.write_all(bytes)?;
    new.commit()
}

/// Opens a file to be locked, making it for its owner alone, who is the directory's.
pub fn open_private(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    let of_directory = fs::metadata(directory_of(path))?;
    if file.metadata()?.uid() == 0 && of_directory.uid() != 0 {
        fchown(&file, Some(of_directory.uid()), Some(of_directory.gid()))?;
    }
    Ok(file)
}

/// Makes a directory that is its owner's alone, who is that of the directory above it.
pub fn private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory_of(path))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let above = fs::metadata(directory_of(path))?;
    if fs::metadata(path)?.uid() == 0 && above.uid() != 0 {
        chown(path, Some(above.uid()), Some(above.gid()))?;
    }
    Ok(())
}

/// A new content on its way; dropped before [`Replacement::commit`], it is removed.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    part: PathBuf,
    file: File,
    renamed: bool,
}

impl Replacement {
    /// Begins beside the file, whose directory must be there.
    pub fn begin(path: &Path) -> io::Result<Replacement> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part)?;
        Ok(Replacement { path: path.to_owned(), part, file, renamed: false })
    }

    /// Makes what was written durable and gives it the name.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.rename()?;
        File::open(directory_of(&self.path))?.sync_all()
    }

    fn rename(&mut self) -> io::Result<()> {
        fs::rename(&self.part, &self.path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.renamed {
            // One that is not there any more is as good.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_the_former_content_until_the_new_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/file.json");
        replace(&path, b"one").unwrap();
        let mut new = Replacement::begin(&path).unwrap();
        new.write_all(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        drop(new);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing of it stays");
        replace_without_sync(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_bare_name_is_in_the_current_directory() {
        assert_eq!(directory_of(Path::new("x.pcapng")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/x.pcapng")), Path::new("a"));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(replace(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
