# Completes the word at the cursor. All names begin with the program's, as files of other versions may be loaded beside this
# one. What comes from the machine (keys, names) is hostile: it is compared and quoted, and nothing ever evaluates it.
#
# In these functions, each a local variable of the first:
#   words          the line up to the cursor as the shell would take it; the last is the one to complete, perhaps empty
#   quote          the quote that is open at the cursor, or nothing
#   kept           how many characters of the last word readline leaves as they are, and takes no candidate for
#   is_closed      set when a quoted part of the last word has ended: readline loses track of such words
#   is_redirected  set when the last word is a file's that the shell opens
#   path           the words of the command, as "config enable"
#   given          options and their values, in turns
#   kind           what the last word is, as a table below says it
#   before         what stands before that in the last word: "--option="
#   listed         candidates, before they are compared with the last word

__PROGRAM() {
  local IFS=$' \t\n' REPLY="" quote="" is_closed="" is_redirected="" path="" kind="" before=""
  local -a words=() given=() listed=()
  local -i kept=0
  COMPREPLY=()
  __PROGRAM_read_line
  ((${#words[@]} > 1)) && [[ ! $is_closed ]] || return 0
  __PROGRAM_find_place
  __PROGRAM_offer_kind
}

# From COMP_LINE, for COMP_WORDS is broken at COMP_WORDBREAKS. Variables and the like are not expanded.
__PROGRAM_read_line() {
  local line=${COMP_LINE:0:COMP_POINT} character word="" is_begun=""
  local -i at
  for ((at = 0; at < ${#line}; at++)); do
    character=${line:at:1}
    if [[ $quote && $character == "$quote" ]]; then
      quote="" is_closed=yes
    elif [[ $quote != "'" && $character == \\ ]]; then
      at+=1
      # Between double quotes it is itself, but before these four.
      [[ $quote && ${line:at:1} != [\\\"\$\`] ]] && word+=$character
      word+=${line:at:1} is_begun=yes
    elif [[ $quote ]]; then
      word+=$character
    elif [[ $character == [\'\"] ]]; then
      quote=$character kept=${#word} is_begun=yes
    elif [[ $character == [[:space:]] ]]; then
      [[ $is_begun ]] && __PROGRAM_end_word
    elif [[ $character == [\<\>] ]]; then
      [[ $is_begun && $word != +([0-9]) && $word != "&" ]] && __PROGRAM_end_word
      word="" is_begun="" kept=0 is_redirected=yes
    else
      word+=$character is_begun=yes
      [[ $COMP_WORDBREAKS == *"$character"* ]] && kept=${#word}
    fi
  done
  words+=("$word")
}

# Variables that are set for the command alone (A=B agent ...) are none of its words.
__PROGRAM_end_word() {
  if [[ ! $is_redirected ]] && ! [[ ${#words[@]} == 0 && $word == [A-Za-z_]*([A-Za-z0-9_])=* ]]; then
    words+=("$word")
  fi
  word="" is_begun="" kept=0 is_closed="" is_redirected=""
}

# Where on the line the last word is, and so what it is.
__PROGRAM_find_place() {
  local word option="" expected="" is_over="" last=${words[-1]}
  local -i operands=0
  for word in "${words[@]:1:${#words[@]}-2}"; do
    if [[ $is_over ]]; then
      continue
    elif [[ $expected && ! ($expected == \?* && $word == -*) ]]; then
      given+=("$option" "$word") expected=""
    elif [[ $word == -- ]]; then
      is_over=yes
    elif [[ $word == --*=* ]]; then
      given+=("${word%%=*}" "${word#*=}") expected=""
    elif [[ $word == -* ]]; then
      option=$word
      __PROGRAM_value "$path" "$option"
      expected=$REPLY
    elif ((operands == 0)) && __PROGRAM_has_command "$word"; then
      path+=${path:+ }$word
    else
      operands+=1
    fi
  done
  if [[ $is_redirected || $is_over ]]; then
    kind=files
  elif [[ $expected && ! ($expected == \?* && $last == -*) ]]; then
    kind=${expected#\?}
  elif [[ $last == --*=* ]]; then
    before=${last%%=*}=
    __PROGRAM_value "$path" "${last%%=*}"
    kind=${REPLY#\?}
  elif [[ $last == -* ]]; then
    kind=options
  else
    __PROGRAM_operand "$path" "$operands"
    kind=$REPLY
    ((operands > 0)) || __PROGRAM_offer_commands
  fi
}

__PROGRAM_has_command() {
  local command
  __PROGRAM_commands "$path"
  for command in "${listed[@]}"; do
    [[ $command == "$1" ]] && return 0
  done
  return 1
}

__PROGRAM_offer_commands() {
  __PROGRAM_commands "$path"
  __PROGRAM_offer "${listed[@]}"
}

__PROGRAM_offer_kind() {
  local last=${words[-1]#"$before"}
  case $kind in
    options)
      __PROGRAM_options "$path"
      __PROGRAM_offer "${listed[@]}"
      ;;
    words:*)
      read -ra listed <<< "${kind#words:}"
      __PROGRAM_offer "${listed[@]}"
      ;;
    files)
      compopt -o default
      ;;
    directories)
      compopt -o dirnames
      ;;
    pairs)
      if [[ $last == *=* ]]; then
        compopt -o default
      else
        __PROGRAM_offer_assignments
      fi
      ;;
    assignments)
      [[ $last == *=* ]] || __PROGRAM_offer_assignments
      ;;
    ?*)
      listed=()
      __PROGRAM_list "$kind"
      __PROGRAM_offer "${listed[@]}"
      ;;
  esac
}

# Keys, and after each the sign behind which its value is to stand.
__PROGRAM_offer_assignments() {
  listed=()
  __PROGRAM_list keys
  compopt -o nospace
  __PROGRAM_offer "${listed[@]/%/=}"
}

# Adds those that the last word can become to COMPREPLY, as they have to be typed.
__PROGRAM_offer() {
  local candidate
  for candidate; do
    candidate=$before$candidate
    [[ $candidate == "${words[-1]}"* ]] || continue
    __PROGRAM_quote "${candidate:kept}" && COMPREPLY+=("$REPLY")
  done
}

# How $1 is typed where the cursor is, in REPLY. Behind an open quote it fails for all that would need one: readline's
# insert-completions takes that quote away again, and what was harmless in it would then be run.
__PROGRAM_quote() {
  printf -v REPLY %q "$1"
  [[ ! $quote || $REPLY == "$1" ]]
}

# Asks a program on the PATH, whatever directory the line names: to complete a word runs nothing that a stranger put there.
# $2 is a pattern of the options that say where; with their values they are passed on. It is not heard when it complains.
__PROGRAM_ask() {
  local program=$1 places=$2
  local -a asked=("${@:3}")
  local -i at
  for ((at = 0; at < ${#given[@]}; at += 2)); do
    # shellcheck disable=SC2053 # it is a pattern
    [[ ${given[at]} == $places ]] && asked+=("${given[at]}" "${given[at + 1]/#\~\//$HOME/}")
  done
  command "$program" "${asked[@]}" < /dev/null 2> /dev/null
}
