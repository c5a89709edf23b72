<#
.SYNOPSIS
    Stops and removes wskguard, and checks that it is gone.
.DESCRIPTION
    Nothing is removed while a client holds the driver: its service would only be marked for deletion (error 1072) until
    the restart. Holders are named; stop them, or restart the machine after setting the service to start on demand.
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

$package = Get-PackageFolder
if (-not (Stop-Guard $package $WaitSeconds)) {
    Write-Warning 'Nothing was removed: stop the drivers named above first.'
    Write-Warning 'If one cannot be stopped: sc config wskguard start= disabled, restart, run this again.'
    exit 7
}
foreach ($name in @(Get-PublishedName)) {
    Invoke-Tool 'pnputil.exe' @('/delete-driver', $name, '/uninstall') @(0, 3010) | Write-Host
}
# 1060: there is no such service. 1072, marked for deletion, would show here as a service that is still known.
& sc.exe query $ServiceName | Out-Null
if ($LASTEXITCODE -ne 1060) {
    throw "The service is still known (sc query ended with $LASTEXITCODE): something has it open. Close services.msc and the like, or restart."
}
if (@(Get-PublishedName).Count -ne 0) {
    throw 'The driver store still holds the package.'
}
Write-Host 'wskguard is gone.'
