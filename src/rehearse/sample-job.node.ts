/** The sample installers as a job for threads: `data` is `{size, order}`. */
import { nodeCodecs, nodeDigests } from "../device/index.ts";
import { sampleSubject } from "./sample-installers.ts";
import type { SampleOrder } from "./sample-installers.ts";
import type { RehearsalSubject } from "./subject.ts";

export function rehearsalSubject(data: { readonly size: number; readonly order: SampleOrder }): RehearsalSubject {
  return sampleSubject(data.size, data.order, { digests: nodeDigests, codecs: nodeCodecs });
}
