# What only this machine knows of $1, added to listed. The keys of VMs it does not: to ask for them could take a VM's channel from
# another client.
__PROGRAM_list() {
  case $1 in
    vms) __PROGRAM_list_vms ;;
  esac
}

# Those of the manager; where none answers, those of libvirt on this host.
__PROGRAM_list_vms() {
  local line
  while IFS= read -r line; do
    # A name with a backslash may stand for one with characters that terminals obey.
    [[ $line && $line != *\\* ]] && listed+=("$line")
  done < <(__PROGRAM_ask vmmessage "-@(h|-host|-manager|-token-file|-ca|-fingerprint)" vms --quiet --timeout 2 ||
    __PROGRAM_is_elsewhere || __PROGRAM_print_domains)
}

# A manager that was named has VMs of its own, whether it answers or not.
__PROGRAM_is_elsewhere() {
  local -i at
  for ((at = 0; at < ${#given[@]}; at += 2)); do
    [[ ${given[at]} == -@(h|-host|-manager) ]] && return
  done
  return 1
}

# Another host's libvirt may ask for passwords, and takes its time.
__PROGRAM_print_domains() {
  local uri=""
  local -i at
  for ((at = 0; at < ${#given[@]}; at += 2)); do
    [[ ${given[at]} == @(-c|--connect) ]] && uri=${given[at + 1]}
  done
  [[ ! $uri || $uri == *:///* ]] || return
  timeout 2 virsh --quiet --readonly ${uri:+--connect "$uri"} list --all --name < /dev/null 2> /dev/null
}
