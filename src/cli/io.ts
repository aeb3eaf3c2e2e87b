/** What a command sees of the terminal. Commands write through it, so tests run them in-process and see every byte. */

export interface Io {
  /** Writes to standard output, no newline added. */
  out(text: string | Uint8Array): void;
  /** Writes to standard error, no newline added. */
  err(text: string): void;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Whether standard error is a terminal: where progress bars may be painted. */
  readonly errIsTerminal: boolean;
  /** Whether standard output is a terminal that may be given colours (`NO_COLOR` is not set). */
  readonly outHasColours?: boolean;
  readonly columns: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Aborted when the user interrupts (Ctrl-C, SIGTERM). */
  readonly signal: AbortSignal;
  /** Told what a maker of packages reads and makes, for its build record; paths as the maker names them. */
  readonly trace?: {
    /** Whether a record is written. */
    readonly records: boolean;
    /** A file that is read, a folder that is listed, a link that is looked at. */
    used(path: string): void;
    /** A private key that may be read: a record has its path and nothing of its content. */
    secret(path: string): void;
    /** A package that is complete. */
    made(path: string): void;
  };
}

/** The process's own terminal. */
export function processIo(signal: AbortSignal): Io {
  // A reader that went away (`| head`) is no failure of ours.
  process.stdout.on("error", (e: NodeJS.ErrnoException) => {
    if (e.code === "EPIPE") process.exit(0);
    throw e;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    errIsTerminal: process.stderr.isTTY === true,
    outHasColours: process.stdout.isTTY === true && (process.env["NO_COLOR"] ?? "") === "",
    columns: process.stderr.columns ?? 80,
    env: process.env,
    cwd: process.cwd(),
    signal,
  };
}

/** An Io for tests: collects what is written. */
export interface CapturedIo extends Io {
  stdout(): string;
  stdoutBytes(): Uint8Array;
  stderr(): string;
}

export function captureIo(
  options: { cwd?: string; env?: Record<string, string>; stdin?: string | Uint8Array } = {},
): CapturedIo {
  const out: Uint8Array[] = [];
  let err = "";
  const stdin = options.stdin ?? "";
  const all = (): Buffer => Buffer.concat(out);
  return {
    out: (text) => void out.push(typeof text === "string" ? Buffer.from(text) : text),
    err: (text) => void (err += text),
    stdin: (async function* () {
      const bytes = typeof stdin === "string" ? Buffer.from(stdin) : stdin;
      if (bytes.length > 0) yield bytes;
    })(),
    errIsTerminal: false,
    columns: 80,
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    signal: new AbortController().signal,
    stdout: () => all().toString(),
    stdoutBytes: () => all(),
    stderr: () => err,
  };
}
