/** Key lists on files and in a device's state: the chain a device walks when keys are replaced (`trust/key-list.ts`). */
import { resolve } from "node:path";
import { OtaError } from "../core/errors.ts";
import { decodeText, encodeText } from "../core/text.ts";
import { nodeDigests, openJournal, type OpenedDevice } from "../device/index.ts";
import { nodeSignatureChecker } from "../trust/crypto.node.ts";
import {
  decodeEnvelope,
  encodeKeyList,
  followKeyList,
  fromBase64,
  toBase64,
  type Envelope,
  type KeyState,
  type PublicKey,
} from "../trust/index.ts";
import type { PackageInput } from "./family.ts";
import type { Io } from "./io.ts";
import { loadPublicKeys, readSmallFile } from "./trust.ts";

/** What a package's key lists are called: the package's name and this. */
export const KEY_LIST_SUFFIX = ".keys";

/** State record with the key list in force. */
const KEYS_RECORD = "trusted-keys";

/** Lists of one file at most: a list a month for eighty years. */
const MOST_LISTS = 1024;

interface KeysRecord {
  readonly sequence: number;
  readonly keys: readonly { readonly algorithm: PublicKey["algorithm"]; readonly id: string; readonly spki: string }[];
}

/** The lists of a file, one a line, the oldest first. @throws OtaError TRUST_MANIFEST, DEVICE_NOT_FOUND, DEVICE_IO */
export async function readKeyLists(path: string): Promise<Envelope[]> {
  const bytes = await readSmallFile(path);
  if (bytes === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "no such key list", where: path });
  const lines = decodeText(bytes).split("\n");
  if (lines.pop() !== "" || lines.length === 0 || lines.length > MOST_LISTS) {
    throw new OtaError("TRUST_MANIFEST", {
      what: "the key list file is cut short, empty or too long",
      where: path,
      expected: `1 to ${MOST_LISTS} lists, each a line`,
    });
  }
  return lines.map((line) => decodeEnvelope(encodeText(`${line}\n`)));
}

/** The keys after a chain of lists. @throws OtaError TRUST_* */
export async function followKeyLists(start: KeyState, lists: readonly Envelope[]): Promise<KeyState> {
  let state = start;
  for (const list of lists) state = await followKeyList(state, list, nodeSignatureChecker, nodeDigests);
  return state;
}

function damaged(where: string): OtaError {
  return new OtaError("DEVICE_STATE_DAMAGED", {
    what: "the record of trusted keys makes no sense",
    where,
    hint: "Restore it from a backup.",
  });
}

function stateOfRecord({ sequence, keys }: KeysRecord): KeyState {
  return {
    sequence,
    keys: keys.map(({ algorithm, id, spki }): PublicKey => {
      const der = fromBase64(spki);
      if (der === undefined) throw damaged(KEYS_RECORD);
      return { algorithm, id, spki: der, source: `key list ${sequence}` };
    }),
  };
}

/** What a device trusts now: the last list it followed, before that the keys of its description. @throws OtaError TRUST_KEY, DEVICE_* */
export async function loadKeyState(device: OpenedDevice): Promise<KeyState> {
  const keys = await loadPublicKeys(device.description.keys ?? []);
  // A device without keys has no policy; what an earlier description left behind is not one either.
  if (keys.length === 0) return { sequence: 0, keys };
  const record = await openJournal<KeysRecord>(device.state, KEYS_RECORD).load();
  return record === undefined ? { sequence: 0, keys } : stateOfRecord(record);
}

/** After it the device trusts the keys of `state` and never again those of an earlier list. */
export async function saveKeyState(device: OpenedDevice, { sequence, keys }: KeyState): Promise<void> {
  await openJournal<KeysRecord>(device.state, KEYS_RECORD).save({
    sequence,
    keys: keys.map(({ algorithm, id, spki }) => ({ algorithm, id, spki: toBase64(spki) })),
  });
}

/** The lists a command was given, otherwise those beside the package. @throws OtaError TRUST_MANIFEST, DEVICE_* */
export async function listsFor(input: PackageInput, io: Io, named: readonly string[] | undefined): Promise<Envelope[]> {
  if (named !== undefined) return (await Promise.all(named.map((f) => readKeyLists(resolve(io.cwd, f))))).flat();
  if (input.name === "-") return [];
  const beside = resolve(io.cwd, `${input.name}${KEY_LIST_SUFFIX}`);
  return (await readSmallFile(beside)) === undefined ? [] : readKeyLists(beside);
}

/** The payload of the list that replaces `previous`. */
export function nextKeyList(previous: KeyState, keys: readonly PublicKey[]): Uint8Array {
  return encodeKeyList({ sequence: previous.sequence + 1, keys });
}
