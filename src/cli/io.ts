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

/** What is used of a standard stream. */
export type StandardStream = Pick<NodeJS.WriteStream, "write"> & {
  on(event: "error", listener: (e: NodeJS.ErrnoException) => void): unknown;
};

/**
 * Writes to a standard stream for as long as that works. A reader that went away (`| head`), or a full disk behind a redirected
 * stream, must not end a command that is writing to a device. `failed`: told of anything but a reader that went away.
 */
function writing(
  stream: StandardStream,
  failed: (e: NodeJS.ErrnoException) => void,
): (text: string | Uint8Array) => void {
  let works = true;
  stream.on("error", (e) => {
    if (works && e.code !== "EPIPE") failed(e);
    works = false;
  });
  return (text) => {
    if (works) stream.write(text);
  };
}

/** The process's own terminal. `lost`: told when standard output could not take what was written, and somebody was there to read it. */
export function processIo(
  signal: AbortSignal,
  lost: (e: NodeJS.ErrnoException) => void = () => undefined,
  streams: { readonly stdout: StandardStream; readonly stderr: StandardStream } = process,
): Io {
  return {
    out: writing(streams.stdout, lost),
    err: writing(streams.stderr, () => undefined),
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
