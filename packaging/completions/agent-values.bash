# What only this machine knows of $1, added to listed.
__PROGRAM_list() {
  case $1 in
    keys) __PROGRAM_list_keys ;;
    modules) __PROGRAM_list_modules ;;
  esac
}

# Each line is {"KEY":VALUE}. No key has control characters, so JSON escapes nothing in it but quotes and backslashes.
__PROGRAM_list_keys() {
  local line key pattern='^\{"(([^"\]|\\.)*)":'
  while IFS= read -r line; do
    [[ $line =~ $pattern ]] || continue
    key=${BASH_REMATCH[1]//\\\\/$'\001'}
    key=${key//\\\"/\"}
    [[ $key == *\\* ]] || listed+=("${key//$'\001'/\\}")
  done < <(__PROGRAM_ask vmmessage-agent "--@(socket|run-dir)" -l --timeout 1)
}

# One JSON array of objects. In the strings of others, as a description, all quotes are escaped.
__PROGRAM_list_modules() {
  local rest pattern='[{,]"module":"([A-Za-z0-9._-]+)"'
  IFS= read -r rest < <(__PROGRAM_ask vmmessage-agent "--@(config|state-dir)" config list --json)
  while [[ $rest =~ $pattern ]]; do
    listed+=("${BASH_REMATCH[1]}")
    rest=${rest#*"${BASH_REMATCH[0]}"}
  done
}
