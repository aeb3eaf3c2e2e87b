/** `otaforge health status|confirm|rollback|check`: trial boots and rollback of a K230, with nothing but ota_meta. */
import { uptime } from "node:os";
import type { Command } from "commander";
import { OtaError } from "../../core/errors.ts";
import { printable } from "../../core/text.ts";
import {
  checkTrial,
  confirmHealth,
  healthStatus,
  rollback,
  type HealthStatus,
  type K230Card,
} from "../../k230/index.ts";
import { nodeFirmwareCrypto } from "../../k230/firmware.node.ts";
import { newCommand, type Subcommand } from "../command.ts";
import type { Report } from "../family.ts";
import type { Io } from "../io.ts";
import { openCardOf, withCardOptions, type CardValues } from "../k230-card.ts";
import { printReport, wholeNumber, type SharedValues } from "../options.ts";

interface Values extends CardValues, SharedValues {
  starts: number;
  seconds?: number;
  uptime?: number;
  dramBase: number;
  dramSize: number;
  force?: boolean;
}

function statusText({ versionA, versionB, active, running, pending, trial, interrupted }: HealthStatus): string {
  const say = (v: number | undefined): string => (v === undefined ? "no valid block" : `version ${v}`);
  const lines = [
    `slot a: ${say(versionA)}`,
    `slot b: ${say(versionB)}`,
    `running: ${running}`,
    `next start: ${active}`,
  ];
  if (pending !== undefined) lines.push(`pending: ${pending} is installed and has not been started`);
  if (trial !== undefined) lines.push(`trial: slot ${trial.slot}, ${trial.verdict}, ${trial.starts} starts counted`);
  if (interrupted !== undefined) {
    const done = interrupted.done.map(printable).join(", ") || "nothing";
    lines.push(`interrupted update in slot ${interrupted.slot}: ${done} is complete; send the image again`);
  }
  return lines.join("\n");
}

const statusReport = (
  status: HealthStatus,
  more: Record<string, unknown> = {},
  first: readonly string[] = [],
): Report => ({
  text: [...first, statusText(status)].join("\n"),
  json: { ...more, ...status },
  exitCode: 0,
});

async function check(card: K230Card, values: Values): Promise<Report> {
  needState(card);
  const limits = {
    starts: values.starts,
    ...(values.seconds === undefined ? {} : { seconds: values.seconds }),
    uptimeSeconds: values.uptime ?? uptime(),
  };
  const { action, status } = await checkTrial(card, limits, loadOf(values));
  const rolledBack = action === "rolled-back";
  const first = {
    none: "no system is on trial",
    waiting: "the running system waits for its confirmation",
    confirmed: "the running system is confirmed",
    "rolled-back": "the trial failed: the previous slot is chosen again, restart the device",
  }[action];
  return { ...statusReport(status, { action, restart: rolledBack }, [first]), exitCode: rolledBack ? 5 : 0 };
}

function loadOf(values: Values): { load?: { crypto: typeof nodeFirmwareCrypto; dramBase: number; dramSize: number } } {
  if (values.force === true) return {};
  return { load: { crypto: nodeFirmwareCrypto, dramBase: values.dramBase, dramSize: values.dramSize } };
}

/** A trial without a memory would begin anew with every call. */
function needState(card: K230Card): void {
  if (card.state !== undefined) return;
  throw new OtaError("USAGE", {
    what: "a trial needs a place to be remembered",
    hint: "Give --state DIR, or --device DEVICE.json.",
  });
}

type Body = (card: K230Card, values: Values) => Promise<Report>;

function verb(
  name: string,
  io: Io,
  done: (code: number) => void,
  { access, body }: { access: "read" | "write"; body: Body },
): Command {
  return withCardOptions(newCommand(name, io))
    .option("--json", "print JSON on standard output and nothing else there")
    .action(async (values: Values) => {
      const opened = await openCardOf(values, io, { access, command: `otaforge health ${name}` });
      try {
        done(printReport(await body(opened.card, values), values, io));
      } finally {
        await opened.close();
      }
    });
}

function withLoad(command: Command): Command {
  return command
    .option("--dram-base <address>", "first byte of the DRAM", wholeNumber, 0)
    .option("--dram-size <bytes>", "size of the DRAM", wholeNumber, 0x20000000)
    .option("--force", "do not check first that the loader could load the other slot");
}

export const healthCommand: Subcommand = {
  async build(io, done) {
    const command = newCommand("health", io).description(
      "Trial boots of a K230: versions and slots, confirmation, rollback without a download.",
    );
    const status: Body = async (card) => statusReport(await healthStatus(card));
    const confirm: Body = async (card) => {
      needState(card);
      return statusReport(await confirmHealth(card), {}, ["confirmed"]);
    };
    const back: Body = async (card, values) =>
      statusReport(await rollback(card, loadOf(values)), {}, [
        "rolled back: the other slot starts at the next restart",
      ]);
    command.addCommand(
      verb("status", io, done, { access: "read", body: status }).description(
        "Shows what runs, what starts next, and the trial.",
      ),
    );
    command.addCommand(
      verb("confirm", io, done, { access: "write", body: confirm }).description(
        "Ends the trial: the running system is healthy.",
      ),
    );
    command.addCommand(
      withLoad(verb("rollback", io, done, { access: "write", body: back })).description(
        "Makes the other slot start next, by one write of one sector.",
      ),
    );
    command.addCommand(
      withLoad(verb("check", io, done, { access: "write", body: check }))
        .description("Call it at every start, and by a timer with --seconds. Exit 5 when it rolled back.")
        .option("--starts <n>", "starts without confirmation before the rollback", wholeNumber, 3)
        .option("--seconds <n>", "seconds since the start without confirmation before the rollback", wholeNumber)
        .option("--uptime <n>", "seconds since the start (default: this machine's)", wholeNumber),
    );
    return command;
  },
};
