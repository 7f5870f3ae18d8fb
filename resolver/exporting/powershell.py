"""A script for PowerShell (5.1 or newer), with the curl that Windows brings.

Everything in it is ASCII: Windows PowerShell reads a file without a mark in the machine's own code page,
where bytes of a name in UTF-8 could turn into a quotation mark. In single quotes PowerShell knows five
characters that end the text (``IsSingleQuote`` in the ``CharTraits.cs`` of its sources); the four that are
not ASCII are written as numbers, as all others are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .item import Item, in_ascii

_HEAD = """\
# Fetches models into the folders of ComfyUI:
#   powershell -ExecutionPolicy Bypass -File FILE [-ComfyUI DIRECTORY]
# Run it again after an interruption: it goes on from there. What is there is never overwritten.
# Tokens, where a model needs one: HF_TOKEN, CIVITAI_API_KEY. A mirror of the Hub: HF_ENDPOINT.
param([string]$ComfyUI = '.')
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
# Paths in full: .NET and PowerShell need not agree on the current directory.
$Root = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($ComfyUI)
$Models = [IO.Path]::Combine($Root, 'models')
$Found = @(Get-Command -Name 'curl.exe', 'curl' -CommandType Application -ErrorAction SilentlyContinue)
if ($Found.Count -eq 0) { throw 'curl is not here. Windows has it since 2018.' }
$Curl = $Found[0].Source
$Sites = @(
  @('https://huggingface.co/', $env:HF_ENDPOINT, $env:HF_TOKEN),
  @('https://civitai.com/', $env:CIVITAI_ENDPOINT, $env:CIVITAI_API_KEY)
)
$script:Failed = $false

function Test-Whole([string]$File, [long]$Size, [string]$Sha256) {
  if (-not [IO.File]::Exists($File)) { return $false }
  if ($Size -ge 0 -and (New-Object IO.FileInfo $File).Length -ne $Size) { return $false }
  return $Sha256 -eq '' -or (Get-FileHash -LiteralPath $File -Algorithm SHA256).Hash -eq $Sha256
}

function Get-Model([string]$Path, [long]$Size, [string]$Sha256, [string]$Part, [string[]]$Urls) {
  $target = [IO.Path]::Combine($Models, $Path)
  $directory = [IO.Path]::GetDirectoryName($target)
  $part = [IO.Path]::Combine($directory, $Part)
  $known = $Size -ge 0 -or $Sha256 -ne ''
  if ([IO.File]::Exists($target) -or [IO.Directory]::Exists($target)) {
    if (Test-Whole $target $Size $Sha256) { Write-Output "here      $target"; return }
    Write-Output "FAILED    ${target}: another file of this name is there, and stays"
    $script:Failed = $true
    return
  }
  [void][IO.Directory]::CreateDirectory($directory)
  if (-not $known) { [IO.File]::Delete($part) }
  foreach ($url in $Urls) {
    if ($known -and (Test-Whole $part $Size $Sha256)) { break }
    $token = $null
    foreach ($site in $Sites) {
      if ($url.StartsWith($site[0])) {
        if ($site[1]) { $url = $site[1].TrimEnd('/') + '/' + $url.Substring($site[0].Length) }
        $token = $site[2]
        break
      }
    }
    Write-Output "fetching  $target"
    # The token goes through a pipe, not an argument; curl drops it on a redirect to another host.
    $options = @('--fail', '--location', '--globoff', '--retry', '3', '--continue-at', '-')
    $options += @('--user-agent', 'comfy-model-resolver', '--output', $part, '--url', $url)
    if ($token) { "Authorization: Bearer $token" | & $Curl @options --header '@-' }
    else { & $Curl @options }
    $code = $LASTEXITCODE
    if ($code -eq 0 -and (Test-Whole $part $Size $Sha256)) { break }
    if ($code -eq 0 -or $code -eq 33) { [IO.File]::Delete($part) }
  }
  if (-not (Test-Whole $part $Size $Sha256)) {
    Write-Output "FAILED    ${target}: it could not be fetched whole"
    $script:Failed = $true
    return
  }
  # It refuses to overwrite.
  try { [IO.File]::Move($part, $target); Write-Output "done      $target" }
  catch {
    Write-Output "FAILED    ${target}: $($_.Exception.Message)"
    $script:Failed = $true
  }
}

"""


def write(items: Sequence[Item], remarks: Sequence[str]) -> str:
    lines = [f"# Left out: {in_ascii(remark)}" for remark in remarks]
    for item in items:
        size = -1 if item.size is None else item.size
        urls = ", ".join(map(quoted, item.urls))
        words = [quoted(item.path), str(size), quoted(item.sha256 or ""), quoted(item.part), f"@({urls})"]
        lines.append(f"Get-Model {' '.join(words)}")
    return _HEAD + "\n".join([*lines, "", "if ($script:Failed) { exit 1 }", "exit 0", ""])


def quoted(text: str) -> str:
    """An expression of ASCII whose value is ``text``."""
    pieces: list[str] = []
    for piece in re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]", text):
        if piece.isascii() and piece.isprintable():
            pieces.append("'" + piece.replace("'", "''") + "'")
        else:
            units = piece.encode("utf-16-be")
            pieces += [f"[char]0x{units[at]:02X}{units[at + 1]:02X}" for at in range(0, len(units), 2)]
    if len(pieces) == 1 and pieces[0].startswith("'"):
        return pieces[0]
    return f"(-join @({', '.join(pieces)}))" if pieces else "''"
