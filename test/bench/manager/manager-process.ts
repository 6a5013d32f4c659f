/** The bundled manager, in directories of its own, with one file that lists its VMs. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { FleetRequest, FleetResult, FleetSummary, Health } from "../../../shared/api/schemas.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { childEnvironment } from "../local-agent.ts";
import type { ListedGuest } from "./guest-fleet.ts";
