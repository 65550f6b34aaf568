use addr2line::Loader;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::*;
use crate::evidence::ImageIdentity;

const MEMORY: u64 = 64 << 20;

fn file_at(path: &Path) -> CodeFile {
    let elf = Elf::read(Arc::new(elf::open(path).unwrap())).unwrap();
    let identity = ImageIdentity::BuildId(elf.build_id().unwrap_or_default().to_vec());
    CodeFile {
        path: path.to_string_lossy().into_owned(),
        identity,
        first_mapping: 0..0,
        process: Process::Own,
    }
}

/// Returns some addresses in functions of a program.
fn addresses_in(path: &Path, count: usize) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let is_code = |symbol: &object::Symbol<'_, '_>| symbol.kind() == SymbolKind::Text && symbol.size() > 8;
    let symbols: Vec<_> = object.symbols().filter(is_code).collect();
    let step = (symbols.len() / count).max(1);
    symbols.iter().step_by(step).map(|symbol| symbol.address() + symbol.size() * 2 / 3).collect()
}

#[test]
fn functions_and_lines_are_those_that_addr2line_finds() {
    let path = std::env::current_exe().unwrap();
    let addresses = addresses_in(&path, 400);
    let infos = Image::default().look_up(&file_at(&path), &addresses, MEMORY).unwrap();
    let loader = Loader::new(&path).unwrap();
    let (mut lines, mut columns) = (0, 0);
    let mut differences = Vec::new();
    for (address, info) in addresses.iter().zip(&infos) {
        let mut expected = Vec::new();
        let mut frames = loader.find_frames(*address).unwrap();
        while let Some(frame) = frames.next().unwrap() {
            let function = frame.function.map(|name| name.raw_name().unwrap().into_owned());
            let line = frame.location.as_ref().and_then(|location| location.line);
            // addr2line gives 0 for an unknown column.
            let column = frame.location.as_ref().and_then(|location| location.column);
            let column = column.filter(|column| *column > 0);
            let file = frame.location.and_then(|location| location.file).filter(|_| line.is_some());
            expected.push((function, file.map(str::to_owned), line, column));
        }
        let found = info.frames.iter().enumerate().map(|(at, frame)| {
            let is_outermost = at + 1 == info.frames.len();
            // The outermost function has its file without a line too.
            let file = frame.file.clone().filter(|_| frame.line.is_some() || !is_outermost);
            (frame.function.clone(), file, frame.line, frame.column)
        });
        let found: Vec<_> = found.collect();
        lines += found.iter().filter(|(_, _, line, _)| line.is_some()).count();
        columns += found.iter().skip(1).filter(|(.., column)| column.is_some()).count();
        if found != expected {
            differences.push(format!("{address:#x}: {found:?}, but expected {expected:?}"));
        }
    }
    assert!(lines > addresses.len() / 2, "{lines}");
    assert!(columns > 0, "no inlined call has a column");
    assert!(
        differences.is_empty(),
        "{} of {}: {:#?}",
        differences.len(),
        addresses.len(),
        differences.first()
    );
}

#[test]
fn the_symbol_of_an_address_is_found() {
    let path = std::env::current_exe().unwrap();
    let addresses = addresses_in(&path, 50);
    let infos = Image::default().look_up(&file_at(&path), &addresses, MEMORY).unwrap();
    let loader = Loader::new(&path).unwrap();
    for (address, info) in addresses.iter().zip(infos) {
        let expected = loader.find_symbol(*address).unwrap();
        assert!(info.symbols.iter().any(|name| name == expected), "{expected} is not in {:?}", info.symbols);
    }
}

#[test]
fn the_compile_units_of_this_program_are_read() {
    let units = Image::of_program(Process::Own).compile_units(MEMORY).unwrap();
    let (directory, root_file) = (env!("CARGO_MANIFEST_DIR").into(), "src/lib.rs".into());
    assert!(units.contains(&CompileUnit { directory, root_file }), "{units:?}");
    let crates = Image::of_program(Process::Own).main_crates().unwrap();
    assert!(crates.contains("loopscope"), "{crates:?}");
}

#[test]
fn what_is_not_a_program_is_not_read() {
    for path in ["/dev/null", "/proc/self/maps", "/no/such/file", "/"] {
        let file = CodeFile { path: path.to_owned(), ..CodeFile::none() };
        assert!(Image::default().look_up(&file, &[1], MEMORY).is_err(), "{path}");
    }
}

#[test]
fn a_file_with_another_build_id_is_not_read() {
    let path = std::env::current_exe().unwrap();
    let identity = ImageIdentity::BuildId(vec![1, 2, 3]);
    let file = CodeFile { identity, ..file_at(&path) };
    assert_eq!(Image::default().look_up(&file, &[1], MEMORY).unwrap_err(), MissingLines::Replaced);
}

/// Another process may shorten a file at any time. Reading a mapped file would
/// then kill this process.
#[test]
fn a_file_that_is_cut_off_while_it_is_read_gives_an_error() {
    let folder = std::env::temp_dir().join(format!("loopscope-cut-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("program");
    let program = std::env::current_exe().unwrap();
    std::fs::copy(&program, &path).unwrap();
    let file = file_at(&path);
    let elf = open(&file).unwrap();
    let addresses = addresses_in(&program, 20);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let dwarf = dwarf(&elf, MEMORY).unwrap();
    let index = UnitIndex::read(&dwarf);
    assert!(addresses.iter().all(|address| index.units_at(*address).next().is_none()));
    assert_eq!(Image::default().look_up(&file, &addresses, MEMORY).unwrap()[0].frames, []);
    std::fs::remove_dir_all(folder).unwrap();
}

/// What a file says is not trusted.
#[test]
fn broken_debug_information_gives_less_and_does_no_harm() {
    const ROUNDS: u64 = 8;
    const BROKEN_BYTES: usize = 20_000;
    let path = std::env::current_exe().unwrap();
    let addresses = addresses_in(&path, 20);
    let bytes = std::fs::read(&path).unwrap();
    // Not the code, but the debug information, tables of symbols and headers.
    let object = object::File::parse(&*bytes).unwrap();
    let first = object.sections().filter_map(|section| {
        let is_debug = section.name().is_ok_and(|name| name.starts_with(".debug_"));
        section.file_range().filter(|_| is_debug).map(|(offset, _)| offset)
    });
    let first = first.min().unwrap() as usize;
    let file = CodeFile { path: "/broken".to_owned(), ..CodeFile::none() };
    for round in 1..=ROUNDS {
        let mut broken = bytes.clone();
        let mut random = round;
        for _ in 0..BROKEN_BYTES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = first + (random >> 20) as usize % (broken.len() - first);
            broken[at] = (random >> 12) as u8;
        }
        if let Some(elf) = Elf::parse(Bytes::from_memory(broken)) {
            Image::default().look_up_in(&elf, &file, &addresses, MEMORY);
        }
    }
}

/// The symbols take little time.
#[test]
fn a_file_that_takes_too_long_has_no_lines() {
    let path = std::env::current_exe().unwrap();
    let addresses = addresses_in(&path, 5);
    let mut image = Image { budget: Budget { steps: 0, ..Budget::default() }, ..Image::default() };
    for _ in 0..2 {
        for info in image.look_up(&file_at(&path), &addresses, MEMORY).unwrap() {
            assert_eq!(info.frames, []);
            assert_ne!(info.symbols, [""; 0]);
            assert_eq!(info.missing, Some(MissingLines::TakesTooLong));
        }
    }
    let infos = Image::default().look_up(&file_at(&path), &addresses, MEMORY).unwrap();
    assert!(infos.iter().any(|info| !info.frames.is_empty() && info.missing.is_none()));
}
