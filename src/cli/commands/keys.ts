/** `otaforge keys replace|show|apply`: signed key lists, by which devices learn new keys and forget old ones without a clock. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import { acquireLock, nodeDigests, openDevice } from "../../device/index.ts";
import { nodeSignatureChecker } from "../../trust/crypto.node.ts";
import {
  decodeKeyList,
  encodeEnvelope,
  followKeyList,
  KEY_LIST_TYPE,
  sealEnvelope,
  type KeyState,
} from "../../trust/index.ts";
import { concatBytes } from "../../core/bytes.ts";
import { newCommand, type Subcommand } from "../command.ts";
import type { Report } from "../family.ts";
import type { Io } from "../io.ts";
import { followKeyLists, loadKeyState, nextKeyList, readKeyLists, saveKeyState } from "../key-lists.ts";
import { printReport, type SharedValues } from "../options.ts";
import { signersOf, withSignerOptions, type SignerValues } from "../signers.ts";
import { loadPublicKeys } from "../trust.ts";
import { replaceFile } from "../write-beside.ts";

interface ReplaceValues extends SharedValues, SignerValues {
  trust: string[];
  first?: string[];
}

const short = (id: string): string => `${id.slice(0, 16)}…`;

function stateReport(state: KeyState, first: readonly string[] = []): Report {
  const keys = state.keys.map(({ id, algorithm }) => ({ id, algorithm }));
  return {
    text: [
      ...first,
      state.sequence === 0 ? "keys of the device description:" : `keys of list ${state.sequence}:`,
      ...keys.map((k) => `  ${short(k.id)} ${k.algorithm}`),
    ].join("\n"),
    json: { sequence: state.sequence, keys },
    exitCode: 0,
  };
}

async function replaceKeys(file: string, values: ReplaceValues, io: Io): Promise<Report> {
  const path = resolve(io.cwd, file);
  const first = await loadPublicKeys((values.first ?? []).map((f) => resolve(io.cwd, f)));
  const before = existsSync(path) ? await readKeyLists(path) : [];
  if (first.length === 0) {
    throw new OtaError("USAGE", {
      what: "the keys the devices began with are not given",
      hint: "Name them all with --first: the chain of lists is checked from there, as a device does it.",
    });
  }
  const state = await followKeyLists({ sequence: 0, keys: first }, before);
  const trusted = await loadPublicKeys(values.trust.map((f) => resolve(io.cwd, f)));
  const signers = await signersOf(values, io);
  const envelope = await sealEnvelope(KEY_LIST_TYPE, nextKeyList(state, trusted), signers);
  // What no device would follow is not written.
  const after = await followKeyList(state, envelope, nodeSignatureChecker, nodeDigests);
  await replaceFile(path, concatBytes(...[...before, envelope].map(encodeEnvelope)));
  return stateReport(after, [`${file}: ${before.length + 1} ${before.length === 0 ? "list" : "lists"}`]);
}

async function showLists(file: string, values: SharedValues & { first?: string[] }, io: Io): Promise<Report> {
  const lists = await readKeyLists(resolve(io.cwd, file));
  if (values.first !== undefined) {
    const first = await loadPublicKeys(values.first.map((f) => resolve(io.cwd, f)));
    return stateReport(await followKeyLists({ sequence: 0, keys: first }, lists), [`${file}: every list is signed`]);
  }
  const rows = lists.map((envelope) => {
    const { sequence, keys } = decodeKeyList(envelope.payload);
    return { sequence, keys: keys.length, signedBy: envelope.signatures.map((s) => s.keyId) };
  });
  return {
    text: rows
      .map((r) => `list ${r.sequence}: ${r.keys} keys, signed by ${r.signedBy.map(short).join(" and ")} (not checked)`)
      .join("\n"),
    json: { lists: rows },
    exitCode: 0,
  };
}

async function applyLists(
  files: readonly string[],
  values: SharedValues & { device?: string },
  io: Io,
): Promise<Report> {
  const lists = (await Promise.all(files.map((f) => readKeyLists(resolve(io.cwd, f))))).flat();
  const device = await openDevice(values.device === undefined ? undefined : resolve(io.cwd, values.device));
  try {
    const lock = await acquireLock(device, "otaforge keys");
    try {
      const known = await loadKeyState(device);
      if (known.keys.length === 0) {
        throw new OtaError("TRUST_KEY_LIST", {
          what: "the device description names no keys, so there is nothing a list could replace",
          hint: "Put the first public key into `keys` of the device description.",
        });
      }
      const state = await followKeyLists(known, lists);
      if (state.sequence > known.sequence) await saveKeyState(device, state);
      const said = state.sequence > known.sequence ? `from list ${known.sequence} to ${state.sequence}` : "nothing new";
      return stateReport(state, [said]);
    } finally {
      await lock.release();
    }
  } finally {
    await device.close();
  }
}

export const keysCommand: Subcommand = {
  async build(io, done) {
    const command = newCommand("keys", io).description(
      "Replaces the keys of devices in the field. A file holds the chain of lists since the devices were made; each list is " +
        "signed by a key of the one before it. A device walks the chain in order and never goes back, whatever its clock says.",
    );
    command.addCommand(
      withSignerOptions(newCommand("replace", io))
        .description("Adds a list to a chain file (made when missing): from then on only the keys of --trust count.")
        .argument("<file>", "chain of key lists, for example release.keys")
        .requiredOption("--trust <file...>", "public keys that are trusted from now on")
        .option("--first <file...>", "public keys the devices were made with")
        .option("--json", "print JSON on standard output and nothing else there")
        .action(async (file: string, values: ReplaceValues) =>
          done(printReport(await replaceKeys(file, values, io), values, io)),
        ),
    );
    command.addCommand(
      newCommand("show", io)
        .description("Lists a chain; with --first, checks it as a device does.")
        .argument("<file>", "chain of key lists")
        .option("--first <file...>", "public keys the devices were made with")
        .option("--json", "print JSON on standard output and nothing else there")
        .action(async (file: string, values: SharedValues & { first?: string[] }) =>
          done(printReport(await showLists(file, values, io), values, io)),
        ),
    );
    command.addCommand(
      newCommand("apply", io)
        .description(
          "Lets a device follow a chain now; an installation does so by itself when the lists come with the package.",
        )
        .argument("<file...>", "chains of key lists")
        .option("-d, --device <file>", "device description (default: this machine is the board)")
        .option("--json", "print JSON on standard output and nothing else there")
        .action(async (files: string[], values: SharedValues & { device?: string }) =>
          done(printReport(await applyLists(files, values, io), values, io)),
        ),
    );
    return command;
  },
};
