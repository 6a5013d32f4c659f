/** `across.*`: what the way through RabbitMQ to another host's manager costs, and how many managers it carries. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildBundles } from "../../../scripts/build.ts";
import { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import type { Figure } from "../figure.ts";
import type { Progress } from "../progress.ts";
import { manyManagersFigures } from "./many-managers.ts";
import { otherHostFigures } from "./other-host.ts";

/** What all of the measurements share. */
export interface Setting {
  rabbit: RabbitUnderTest;
  /** Where the programs are. */
  bundle: string;
  /** The configuration that lets a manager meet the others. */
  peers: { url: string; keyFile: string };
  progress: Progress;
}

export async function acrossFigures(progress: Progress): Promise<Figure[]> {
  progress("starting RabbitMQ");
  await using resources = new AsyncDisposableStack();
  const directory = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(directory));
  const bundle = join(directory, "bundle");
  await buildBundles({ outDir: bundle });
  const rabbit = resources.use(await RabbitUnderTest.start());
  const keyFile = join(directory, "peers.key");
  await writeFile(keyFile, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
  const setting: Setting = { rabbit, bundle, peers: { url: rabbit.url, keyFile }, progress };
  return [...(await otherHostFigures(setting)), ...(await manyManagersFigures(setting))];
}
