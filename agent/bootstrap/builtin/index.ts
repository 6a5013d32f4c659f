/** The modules that come with the agent. */
import type { ConfigModule } from "../module.ts";
import { hostnameModule } from "./hostname.ts";
import { rootPasswordModule } from "./root-password.ts";
import { type BuiltinTools, machineTools } from "./tools.ts";
import { usersModule } from "./users.ts";

export function builtinModules(tools: BuiltinTools = machineTools): readonly ConfigModule[] {
  return [hostnameModule(tools), usersModule(tools), rootPasswordModule(tools)];
}
