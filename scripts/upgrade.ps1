<#
.SYNOPSIS
    Replaces an installed wskguard by the one in the folder of this script's parent.
.DESCRIPTION
    A driver that is in use cannot be unloaded. If all clients let go within -WaitSeconds, the new driver runs at once.
    Otherwise the new package is installed beside the old one, and a restart makes the change: until then the old driver
    goes on working, and its holders have been named.
.PARAMETER WaitSeconds
    How long to wait for clients to let go.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param([int] $WaitSeconds = 5)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
. "$PSScriptRoot\common.ps1"

Assert-Windows
Assert-TestSigning
$package = Get-PackageFolder
if (-not (Get-Service -Name $ServiceName -ErrorAction SilentlyContinue)) {
    throw "$ServiceName is not installed. Use install.ps1."
}
$old = @(Get-PublishedName)
$stopped = Stop-Guard $package $WaitSeconds
Install-Package $package
if (-not $stopped) {
    Write-Warning 'The old driver is held by the clients named above. Restart the machine to run the new one.'
    Write-Warning "Then remove the old package with pnputil /delete-driver: $($old -join ', ')."
    exit 3010
}
Start-Guard
$newest = @(Get-PublishedName)[-1]
foreach ($name in $old | Where-Object { $_ -ne $newest }) {
    Invoke-Tool 'pnputil.exe' @('/delete-driver', $name) | Write-Host
}
Show-Status $package
