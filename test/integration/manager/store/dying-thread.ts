/** A thread that opens, and dies of the first request. */
import { parentPort } from "node:worker_threads";

parentPort?.on("message", () => {
  throw new Error("out of memory");
});
parentPort?.postMessage({ type: "opened", keySetAside: undefined });
