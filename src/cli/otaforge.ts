/** `otaforge`, the front door: finds the subcommand and loads only that one, so that it starts fast. */
import { Argument, type Command } from "commander";
import { recordable } from "./build-record.ts";
import { completionScript, SHELLS } from "./completion.ts";
import { newCommand, type Subcommand } from "./command.ts";
import type { Io } from "./io.ts";
import { PACKAGE_VERSION } from "./version.ts";

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Subcommand>;
}

/** Every subcommand, in the order the help lists them. */
export const SUBCOMMANDS: Readonly<Record<string, Entry>> = {
  pack: { summary: "make a package", load: async () => (await import("./commands/pack.ts")).packCommand },
  inspect: {
    summary: "show what a package holds and does",
    load: async () => (await import("./commands/inspect.ts")).inspectCommand,
  },
  verify: {
    summary: "check a package's integrity and signature",
    load: async () => (await import("./commands/verify.ts")).verifyCommand,
  },
  extract: {
    summary: "write a package's parts into a folder",
    load: async () => (await import("./commands/extract.ts")).extractCommand,
  },
  compare: {
    summary: "say how two packages differ",
    load: async () => (await import("./commands/compare.ts")).compareCommand,
  },
  install: {
    summary: "install a package on a board or its image",
    load: async () => (await import("./commands/install.ts")).installCommand,
  },
  diff: {
    summary: "make a patch of two files",
    load: async () => (await import("./commands/diff.ts")).diffCommand,
  },
  patch: {
    summary: "apply a patch to a file",
    load: async () => (await import("./commands/patch.ts")).patchCommand,
  },
  rehearse: {
    summary: "install with the power cut at every write",
    load: async () => (await import("./commands/rehearse.ts")).rehearseCommand,
  },
  edify: {
    summary: "evaluate or explain Android update scripts",
    load: async () => (await import("./commands/edify.ts")).edifyCommand,
  },
  keygen: {
    summary: "make a key pair",
    load: async () => (await import("./commands/keygen.ts")).keygenCommand,
  },
  sign: {
    summary: "sign a package, beside it or inside it",
    load: async () => (await import("./commands/sign.ts")).signCommand,
  },
  keys: {
    summary: "signed lists that replace a device's keys",
    load: async () => (await import("./commands/keys.ts")).keysCommand,
  },
  health: {
    summary: "trial boot, confirmation and rollback of a K230",
    load: async () => (await import("./commands/health.ts")).healthCommand,
  },
  demo: {
    summary: "all of it on small real inputs, offline",
    load: async () => (await import("./commands/demo.ts")).demoCommand,
  },
  doctor: {
    summary: "what this machine has and lacks",
    load: async () => (await import("./commands/doctor.ts")).doctorCommand,
  },
};

const EXIT_TABLE = `
Exit codes: 0 done · 2 wrong usage · 3 bad or damaged package · 4 signature or trust
            5 wrong device, version or base · 6 device I/O or space
            7 interrupted, can be resumed · 70 a bug`;

/**
 * The whole program, with the subcommands named in `names` built in full and the others by name and summary only.
 * `done` receives the exit code of the action that ran.
 */
export async function buildProgram(
  io: Io,
  names: ReadonlySet<string>,
  done: (exitCode: number) => void,
): Promise<Command> {
  const program = newCommand("otaforge", io)
    .description(
      "Builds, inspects, verifies, rehearses and installs OTA packages for SigmaStar, K230 and Android devices.",
    )
    .version(PACKAGE_VERSION, "-V, --version")
    .showSuggestionAfterError(true)
    .addHelpText("after", EXIT_TABLE);
  for (const [name, entry] of Object.entries(SUBCOMMANDS)) {
    const command = names.has(name) ? await (await entry.load()).build(io, done) : newCommand(name, io);
    program.addCommand(command.summary(entry.summary));
  }
  program.addCommand(completionCommand(io));
  return program;
}

/** `otaforge completion SHELL`: stands here because it walks the whole program. */
function completionCommand(io: Io): Command {
  return newCommand("completion", io)
    .summary("print a shell's completion script")
    .description(`Prints a completion script. For bash: eval "$(otaforge completion bash)".`)
    .addArgument(new Argument("<shell>", "which shell").choices(SHELLS))
    .action(async (shell: (typeof SHELLS)[number]) => {
      const whole = await buildProgram(io, new Set(Object.keys(SUBCOMMANDS)), () => undefined);
      io.out(completionScript(shell, whole));
    });
}

export function otaforgeMain(argv: readonly string[], io: Io): Promise<number> {
  return argv[0] === "pack" ? recordable("otaforge", runProgram, "always")(argv, io) : runProgram(argv, io);
}

async function runProgram(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const wanted = new Set(argv.filter((a) => Object.hasOwn(SUBCOMMANDS, a)).slice(0, 1));
  // `otaforge help NAME` prints NAME's own help, so it needs the whole of it as well.
  const program = await buildProgram(io, wanted, (code) => (exitCode = code));
  if (argv.length === 0) {
    program.outputHelp();
    return 2;
  }
  await program.parseAsync([...argv], { from: "user" });
  return exitCode;
}
