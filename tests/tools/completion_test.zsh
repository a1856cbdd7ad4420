# SPDX-License-Identifier: GPL-2.0-or-later
# completion_test.zsh SHARE: what an interactive zsh makes of the completion in SHARE.
zmodload zsh/zpty || exit 1
share=${1:A}
cd $(mktemp -d) || exit 1
mkdir folder && touch perf.data
failed=0

zpty shell zsh -f -i
zpty -w shell "PS1= PS2= RPS1= ; unsetopt prompt_sp; stty -echo"
zpty -w shell "fpath=($share/zsh/site-functions \$fpath); autoload -Uz compinit && compinit -D -u"
# Ctrl-X: what stands on the line, which is emptied.
zpty -w shell 'show() { print -r -- "<line:$BUFFER>"; BUFFER= }; zle -N show; bindkey "^X" show'
zpty -w shell 'print -r -- "<ready:>"'
zpty -r shell out '*<ready:>*' || exit 1

# expect TYPED COMPLETED: with the tabulator at its end.
expect() {
  zpty -n -w shell "$1"$'\t\x18'
  zpty -r shell out '*<line:*>*' || exit 1
  line=${${out#*<line:}%>*}
  if [[ $line != "$2" || $out == *(error|not\ found|bad\ )* ]]; then
    print -r -- "$1: completed to '$line', not '$2'; zsh said: ${(V)out}"
    failed=1
  fi
}

expect 'xenoprof rep' 'xenoprof report '
expect 'xenoprof report --form' 'xenoprof report --format '
expect 'xenoprof report --format js' 'xenoprof report --format json '
# The comma goes when anything but another column follows.
expect 'xenoprof report --sort domain,sy' 'xenoprof report --sort domain,symbol,'
expect 'xenoprof annotate main pe' 'xenoprof annotate main perf.data '
expect 'xenoprof export --format s' 'xenoprof export --format speedscope '
expect 'xenoprof diff fol' 'xenoprof diff folder/'

zpty -d shell
rm -r $PWD
exit $failed
